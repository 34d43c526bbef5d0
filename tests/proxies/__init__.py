"""The files of deploy/ in real proxies."""
