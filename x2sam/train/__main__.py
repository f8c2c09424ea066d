"""``python -m x2sam.train RECIPE key=value ...``."""

from __future__ import annotations

import sys

from x2sam.errors import X2SamError
from x2sam.train.loop import train
from x2sam.train.recipes import RECIPES, resolve

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"Usage: python -m x2sam.train RECIPE key=value ...\nRecipes: {', '.join(RECIPES)}")
    try:
        print(train(resolve(sys.argv[1], sys.argv[2:])))
    except X2SamError as error:
        sys.exit(f"Error: {error}")
