"""Out of Python: the network as a handful of fixed graphs (ONNX), and a runtime of the same API on them.

`graphs` says what each graph computes, `export` writes and checks them, `blocks` keeps the language model's weights in
4 bits, `runtime` is the model that runs on them.
"""
