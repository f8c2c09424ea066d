#!/bin/sh
# pycocotools 2.0.11: whether a list of polygons can be read hangs on which of them comes first. A polygon of only two
# corners (some exports have such crumbs) is left empty behind a proper one, but ahead of it the whole list is taken for
# boxes and fails. x2sam leaves such crumbs out before it asks (x2sam/data/base.py).
# Output seen:
#   proper one first: areas [400, 0]
#   crumb first: TypeError
# Fails if the order does not matter any more.
set -e
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --target "$folder/site" pycocotools==2.0.11 numpy==2.4.6
PYTHONPATH="$folder/site" "${PYTHON:-python3}" - <<'END'
from pycocotools import mask

square, crumb = [10, 10, 30, 10, 30, 30, 10, 30], [40, 40, 50, 50]
areas = [int(mask.area(code)) for code in mask.frPyObjects([square, crumb], 60, 80)]
print("proper one first: areas", areas)
try:
    mask.frPyObjects([crumb, square], 60, 80)
except TypeError as error:
    print("crumb first:", type(error).__name__)
else:
    raise AssertionError("the order does not matter any more")
assert areas == [400, 0]
END
