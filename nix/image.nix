# The image: configuration, manifest and index over the layers, which are relative links (under `--store` absolute ones
# would lead nowhere).  Its closure is itself and its layers.
{ data, packer, layers, absent }:
let
  isAbsent = layer: layer.derivation == null || builtins.elem (layer.digest or "") absent;
  entry = layer:
    { inherit (layer) title; }
    // (if layer ? digest then { inherit (layer) digest diff_id size; media_type = layer.media_type or null; } else { })
    // (if isAbsent layer then { } else { path = "${layer.derivation}"; });
  present = builtins.filter (layer: !(isAbsent layer)) layers;
in
packer.run {
  name = "image";
  script = ./image.py;
  spec = {
    inherit (data) config platform epoch compression;
    layers = map entry layers;
  };
  attributes = { allowedReferences = map (layer: "${layer.derivation}") present; };
}
