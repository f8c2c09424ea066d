"""From what the model gives to answers: candidates, panoptic pictures, single objects."""
