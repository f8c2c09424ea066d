"""The whole way with Label Studio: project, backend, predictions, a click; its own code unpacks the masks.

Needs a running Label Studio and a running service that knows it, and label-studio-sdk:

    python examples/label_studio.py photo.jpg person tree --label-studio http://localhost:8080 --key TOKEN
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image

INTERFACE = """<View><Image name="image" value="$image"/>
<BrushLabels name="label" toName="image">{labels}</BrushLabels>
<KeyPointLabels name="click" toName="image" smart="true">{labels}</KeyPointLabels></View>"""


def decoded(item: dict[str, Any]) -> np.ndarray:
    """A brush as Label Studio's own converter unpacks it."""
    shape = item["original_height"], item["original_width"], 4
    return np.reshape(decode_rle(item["value"]["rle"]), shape)[..., 3] > 0


def coco_mask(rle: dict[str, Any]) -> np.ndarray:
    """The service's own run lengths."""
    from pycocotools import mask

    return mask.decode(rle).astype(bool)


def agree(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """The worst of the intersections over unions of masks in the same order; 0 where their numbers differ."""
    if len(ours) != len(theirs):
        return 0.0
    return min(((a & b).sum() / max(1, (a | b).sum()) for a, b in zip(ours, theirs, strict=True)), default=1.0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("picture", type=Path)
    parser.add_argument("labels", nargs="+")
    parser.add_argument("--label-studio", default="http://localhost:8080")
    parser.add_argument("--service", default="http://localhost:7860")
    parser.add_argument("--key", required=True)
    options = parser.parse_args()
    studio = httpx.Client(base_url=options.label_studio, headers={"Authorization": f"Token {options.key}"}, timeout=300)
    service = httpx.Client(base_url=options.service, timeout=300)

    def done(answer: httpx.Response) -> Any:
        if answer.is_error:
            raise SystemExit(f"{answer.request.url} says {answer.status_code}: {answer.text[:500]}")
        return answer.json() if answer.content else None

    interface = INTERFACE.format(labels="".join(f'<Label value="{label}"/>' for label in options.labels))
    project = done(studio.post("/api/projects", json={"title": "x2sam", "label_config": interface}))["id"]
    files = {"file": (options.picture.name, options.picture.read_bytes())}
    done(studio.post(f"/api/projects/{project}/import", files=files))
    task = done(studio.get("/api/tasks", params={"project": project, "fields": "all"}))["tasks"][0]
    backend = {"url": options.service, "project": project, "title": "x2sam", "is_interactive": True}
    ml = done(studio.post("/api/ml", json=backend))["id"]
    print(f"project {project}, task {task['id']}, backend {ml}")

    asked = {"id": "retrieve_tasks_predictions", "project": project}
    body = {"filters": {"conjunction": "and", "items": []}, "selectedItems": {"all": True, "excluded": []}}
    print(done(studio.post("/api/dm/actions", params=asked, json=body)))
    predictions = done(studio.get("/api/predictions", params={"task": task["id"]}))
    (prediction,) = predictions if isinstance(predictions, list) else predictions["results"]
    form = {"categories": json.dumps(options.labels)}
    same = done(service.post("/v1/segment", data=form, files=files))["frames"][0]["segments"]
    theirs = [decoded(item) for item in prediction["result"]]
    print(f"prediction of {prediction['model_version']}: {len(theirs)} brushes")
    print(f"worst IoU with the service's masks: {agree([coco_mask(s['rle']) for s in same], theirs)}")

    width, height = Image.open(options.picture).size
    for x, y in ((50.0, 50.0), (25.0, 60.0)):
        click = {
            "id": "click1",
            "type": "keypointlabels",
            "from_name": "click",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "is_positive": True,
            "value": {"x": x, "y": y, "width": 0.3, "keypointlabels": [options.labels[0]]},
        }
        body = {"task": task["id"], "context": {"result": [click]}}
        answer = done(studio.post(f"/api/ml/{ml}/interactive-annotating", json=body))
        if answer.get("errors"):
            raise SystemExit(str(answer["errors"]))
        items = answer["data"]["result"]
        regions = json.dumps([{"point": [x / 100 * width, y / 100 * height]}])
        form = {"regions": regions, "options": json.dumps({"threshold": 0.0})}
        same = done(service.post("/v1/segment", data=form, files=files))["frames"][0]["segments"]
        worst = agree([coco_mask(s["rle"]) for s in same], [decoded(item) for item in items])
        print(f"a click at {x:g} %, {y:g} %: {[i['value']['brushlabels'] for i in items]}, IoU {worst}")


if __name__ == "__main__":
    main()
