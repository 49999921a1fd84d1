# What `build.nix_packages` adds: one layer with the closure of these packages of a nixpkgs, at their own paths, and links to
# their programs in /usr/local/bin.  An ordinary derivation: another nixpkgs gives another layer.
{ data, pkgs, packer }:
let
  names = data.nix_packages or [ ];
  find = name:
    let parts = builtins.filter builtins.isString (builtins.split "\\." name); in
    builtins.foldl'
      (set: part: set.${part} or (throw "build.nix_packages: this nixpkgs has no `${name}`"))
      pkgs
      parts;
  packages =
    if pkgs == null
    then
      throw ''
        the plan asks for packages of nixpkgs (${builtins.concatStringsSep ", " names}), and there is no nixpkgs: build by a
        flake that has one (`cogsmith emit nix --nixpkgs`), or pass `pkgs`''
    else map find names;
  numbers = builtins.genList (n: n) (builtins.length names);
  layer = packer.run {
    name = "layer";
    script = ./closure.py;
    withCodec = true;
    spec = {
      inherit (data) compression epoch;
      codecOfPlan = data.codec;
      packages = map (package: "${package}") packages;
    };
    attributes = {
      exportReferencesGraph = builtins.concatMap (n: [ "graph-${toString n}" (builtins.elemAt packages n) ]) numbers;
    } // (if data.compression == "plain" then { } else { allowedReferences = [ ]; });
  };
in
if names == [ ] then [ ]
else [{ title = "nixpkgs: ${builtins.concatStringsSep ", " names}"; derivation = layer; }]
