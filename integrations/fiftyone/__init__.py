"""The remote source of FiftyOne's model zoo: `register_zoo_model_source`, then `load_zoo_model("x2sam/nano", ...)`."""

from pathlib import Path


def download_model(model_name, model_path):
    """The weights ship with the package; a note takes the place of a file."""
    Path(model_path).write_text(f"{model_name} is loaded from the package x2sam\n")


def load_model(model_name, model_path, classes=None, prompt=None, **kwargs):
    """What `load_zoo_model` gives; see `X2SamModel`."""
    from x2sam.integrations.fiftyone import X2SamModel

    return X2SamModel(classes, prompt, **{"model": model_name.rpartition("/")[2], **kwargs})
