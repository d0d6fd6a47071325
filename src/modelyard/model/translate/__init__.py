"""Fitted scikit-learn estimators to ONNX graphs in float64.

Composition and the estimators where a float32 graph is known to answer wrongly are written here, one emitter a class
(tables `TRANSFORMS` and `ANSWERS` of each module); every other estimator is converted alone by skl2onnx and taken in.
The translation is never believed: `verify` asks the original and the graph the same rows.
"""
