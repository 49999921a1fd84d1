"""The bytes of layers: one packer, the same for every backend (docs/layer-format.md).

Standard library only, and of ours only `builder.errors`: the Nix sandbox runs these modules as they are.
"""
