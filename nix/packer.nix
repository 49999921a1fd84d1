# The packer: Cogsmith's own files, run by `python`, by nixpkgs' or by the seed's.  A function from attributes to a
# derivation whose builder is a script beside this file.
{ python, seed, codec, system }:
let
  stored = value: if builtins.isString value then builtins.storePath value else value;
  root = ../.;
  # What makes bytes, and what they import.  Compiled files and the rest of the program would change the derivations.
  start = builtins.stringLength (toString root) + 1;
  wanted = path: type:
    let relative = builtins.substring start (-1) path; in
    if type == "directory"
    then builtins.elem relative [ "builder" "builder/layers" "builder/layers/debian" "builder/plan" ]
    else builtins.match "builder/((layers|layers/debian|plan)/[a-z0-9_]+|__init__|codec|errors|frozen|oci)\\.py" relative != null;
  source = builtins.path { name = "cogsmith-packer"; path = root; filter = wanted; };
  # What the interpreter makes of all these modules, once: a third of the time that a small layer takes.
  compiled = derivation {
    name = "cogsmith-compiled";
    inherit system source;
    inherit (run) builder;
    args = run.args ++ [ "-I" "-S" "${./compile.py}" ];
    preferLocalBuild = true;
  };
  missing = throw ''
    the packer needs an interpreter: pass `python` (nixpkgs' python3, say) or `seed` (`cogsmith build --backend nix`
    makes one, and `cogsmith emit nix` writes one)'';
  run =
    if python != null then { builder = "${stored python}/bin/python3"; args = [ ]; }
    else if seed != null then
      let root = stored seed; in {
        builder = "${root}/lib/ld.so";
        args = [ "--library-path" "${root}/lib" "${root}/bin/python3" ];
      }
    else missing;
in
{
  # Debian's name of the machine that packs.
  architecture = { x86_64-linux = "amd64"; aarch64-linux = "arm64"; }.${system} or system;

  # `script` is run with `spec` (any data; store paths in it are inputs) and writes `$out`.
  run = { name, script, spec, withCodec ? false, attributes ? { } }:
    derivation ({
      inherit name system;
      inherit (run) builder;
      # Isolated, nothing written beside the sources, no site-packages.
      args = run.args ++ [ "-I" "-B" "-S" "-X" "pycache_prefix=${compiled}" "${script}" ];
      passAsFile = [ "spec" ];
      spec = builtins.toJSON (spec // {
        source = "${source}";
        codec = if withCodec && codec != null then "${stored codec}" else null;
      });
      preferLocalBuild = true;
    } // attributes);
}
