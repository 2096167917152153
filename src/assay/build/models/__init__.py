"""One file per family; its name is the `model_type` of config.json."""
