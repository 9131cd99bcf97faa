"""Plain, short implementations of what the published code does; read them, do not use them."""
