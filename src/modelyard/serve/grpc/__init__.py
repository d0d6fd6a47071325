"""The Open Inference Protocol over gRPC: messages, codec, calls, and the server that answers them."""
