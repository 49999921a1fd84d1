"""The process that runs the model.  Standard library and the SDK only."""
