"""Who a caller can be."""
