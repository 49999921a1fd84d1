"""The process that runs the model.  Standard library and the SDK only: the model's packages are none of its business."""
