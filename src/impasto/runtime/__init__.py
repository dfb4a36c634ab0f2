"""FLOOR 1: use a model. numpy, Pillow and onnxruntime; never torch."""
