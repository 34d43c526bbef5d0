from typing import Any
def test_201(call: Any, client: Any) -> None:
    r = call("POST", "/v0/api_keys", json={"name": "x"})
    assert r.status_code == 201
    assert call("POST", "/v0/api_keys", json={"name": "y"}, by=r.json["api_key"]).status_code == 201
def test_serve(serve: Any) -> None:
    import conftest
    for c in (None, conftest.WAITRESS):
        s = serve(c)
        k = s.mint(f"a{s.port}")
        assert s.call("GET","/v0/auth",by=k).status_code == 200
