"""Words everyone speaks: errors, tensors, signatures, manifests, plans. No I/O; stdlib, numpy and msgspec only."""
