# An image from a plan, as an OCI layout of relative links: `nix-build --arg plan ./plan.json --arg src ./project`.
#
# Static: nothing of this is generated.  The plan is data, and the files beside this one say how each part of it is made.
# No nixpkgs is needed; where it is there, `python` and `pkgs` take from it.
{
  # The plan, a path: what `cogsmith plan --json` prints, or `plan.json` of `cogsmith emit nix`.
  plan,

  # The project's folder, a path.  Only the files that the plan names are read, and only for layers that are not there.
  src,

  # Cogsmith's runtime, a path: the files of the SDK and the server that the plan names.
  runtime ? ../runtime,

  # Who runs the packer: anything with a `bin/python3` of 3.11 or later, such as nixpkgs' `python3`.  Locked layers have the
  # same store path whoever packs them.  null: the seed.
  python ? null,

  # The interpreter that is run where there is no other: a folder with `bin/python3`, `lib` and `lib/ld.so`, as a path, or
  # a store path as text.  `cogsmith build` makes it from Debian's packages, `cogsmith emit nix` writes it.
  seed ? null,

  # A folder with the Python package of the codec (`deflate`, or `zstandard`), as a path, or a store path as text.  Needed
  # for layers that are compressed anew: a Debian base and an interpreter, or all where the plan says zstd.
  codec ? null,

  # A folder with files that are on no server, such as wheels of one's own, each named by its sha256; a path.  null: none.
  files ? null,

  # A nixpkgs, for the packages that `build.nix_packages` of cog.yaml names: an attribute set.  null: none.
  pkgs ? null,

  # Digests of layers that the layout leaves out, for whoever gets the image has them: a list of `sha256:...`.
  absent ? [ ],

  # The machine that packs.  Which one it is changes no byte.
  system ? builtins.currentSystem,
}:
let
  asPath = value: if builtins.isString value && builtins.substring 0 1 value == "/" then /. + value else value;
  data = builtins.fromJSON (builtins.readFile (asPath plan));
  packer = import ./packer.nix { inherit python seed codec system; };
  known = import ./files.nix { inherit (data) remotes; folder = files; };
  sources = { runtime = asPath runtime; project = asPath src; };
  makeLayer = import ./layer.nix { inherit data packer sources; files = known; };
  made = builtins.genList makeLayer (builtins.length data.layers);
  # Under the last one, which is the code.
  last = builtins.length made - 1;
  layers = builtins.genList (builtins.elemAt made) last
    ++ import ./packages.nix { inherit data pkgs packer; }
    ++ [ (builtins.elemAt made last) ];
  image = import ./image.nix { inherit data packer layers absent; };
  # `bin/push REFERENCE`, which sends the image to a registry with the digest that it has.
  push = packer.run { name = "push"; script = ./push.py; spec = { image = "${image}"; }; };
in
image // { inherit image layers push; plan = data; }
