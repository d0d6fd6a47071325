"""How a program asks: in process or over HTTP."""
