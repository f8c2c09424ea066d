"""The service: a queue with one worker per device, opened media by id, a REST interface and the page on top of them."""
