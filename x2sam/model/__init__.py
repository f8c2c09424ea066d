"""The network. `modeling.py` puts it together; every other file is one part."""
