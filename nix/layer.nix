# One layer of the plan.  With a locked digest it is a flat fixed-output derivation on that digest, named `layer`
# whatever it holds: any plan, cache or registry that has the bytes has the path, and Nix refuses others.  Without one it is
# an ordinary derivation: a folder with the blob `layer` and what it came out as, `packed.json`.
{ data, packer, files, sources }:
number:
let
  layer = builtins.removeAttrs (builtins.elemAt data.layers number) [ "reason" ];
  key = builtins.elemAt data.keys number;
  lockedBy = builtins.listToAttrs (map (one: { name = one.key; value = one; }) data.locked);
  locked = lockedBy.${key} or null;

  # What bytecode is compiled with on this machine; of no consequence for its bytes.
  compiler = builtins.head (builtins.filter (one: one.architecture == packer.architecture) (layer.compilers or [ ]) ++ [ null ]);
  # What system packages are installed over; null where they would have to be installed by a command.
  below = if layer.kind == "packages" && number == 1 then builtins.elemAt data.layers 0 else null;
  base = if below != null && below.kind == "debian" && !below.executed then builtins.removeAttrs below [ "reason" ] else null;
  hashesOf = one:
    map (file: file.sha256) (one.wheels or [ ] ++ one.debs or [ ])
    ++ (if one.kind or "" == "interpreter" then [ one.sha256 ] else [ ]);
  hashes = hashesOf layer ++ hashesOf (layer.of or { }) ++ (if base == null then [ ] else hashesOf base) ++ (if compiler == null then [ ] else
    hashesOf compiler ++ (if compiler.archive == null then [ ] else [ compiler.archive.sha256 ]));
  inputs = builtins.listToAttrs (map (hash: { name = hash; value = "${files.bySha256.${hash}}"; }) hashes);

  # The project's files: those that the layer names, and of a tree only they.
  isFile = entry: entry.type == "file" && entry.size > 0;
  treeOf = { name, root, entries }:
    let
      wanted = builtins.listToAttrs (map (entry: { name = entry.path; value = true; }) entries);
      parents = path:
        let parts = builtins.filter builtins.isString (builtins.split "/" path); in
        builtins.genList
          (n: builtins.concatStringsSep "/" (builtins.genList (builtins.elemAt parts) (n + 1)))
          (builtins.length parts - 1);
      folders = builtins.listToAttrs
        (map (path: { name = path; value = true; }) (builtins.concatMap (entry: parents entry.path) entries));
      start = builtins.stringLength (toString root) + 1;
    in
    builtins.path {
      inherit name;
      path = root;
      filter = path: type:
        let relative = builtins.substring start (-1) path; in
        (if type == "directory" then folders else wanted) ? ${relative};
    };
  # A large file is a path of its own, named by its hash: it is not read again where the store has it.
  single = entry:
    let path = sources.project + ("/" + entry.path); in
    if builtins.pathExists path
    then builtins.path { name = "file"; inherit path; recursive = false; inherit (entry) sha256; }
    else files.added "file" entry.sha256;
  projectFiles = builtins.filter isFile (layer.entries or [ ]);
  treeIn = name: root: entries: { folder = treeOf { inherit name root entries; }; inherit entries; };
  runtimeFiles = builtins.filter isFile (layer.files or layer.of.files or [ ]);
  own =
    if layer.kind == "files" && layer.role == "weights" then
      { inputs = builtins.listToAttrs (map (entry: { name = entry.sha256; value = "${single entry}"; }) projectFiles); }
    else if projectFiles != [ ] then { tree = treeIn "cogsmith-source" sources.project projectFiles; }
    else if runtimeFiles != [ ] then { tree = treeIn "cogsmith-runtime" sources.runtime runtimeFiles; }
    else { };

  made = packer.run {
    name = "layer";
    script = ./pack.py;
    # Wheels are inflated to be checked, which `isal` does faster: it lies beside the codec.
    withCodec = layer.kind != "files" || data.compression == "zstd";
    spec = {
      layer = layer // (if base == null then { } else { inherit base; });
      inherit (data) compression;
      codecOfPlan = data.codec;
      title = builtins.elemAt data.titles number;
      inputs = inputs // own.inputs or { };
      tree = own.tree or null;
      inherit compiler;
      flat = locked != null;
    };
    attributes =
      if locked == null then { allowedReferences = [ ]; }
      else {
        outputHashMode = "flat";
        outputHashAlgo = "sha256";
        outputHash = builtins.substring 7 (-1) locked.digest;
      };
  };
  about = { title = builtins.elemAt data.titles number; };
in
if layer.kind == "base" then
  # A blob of the base image: by digest, and not part of the layout; a push moves it from registry to registry.
  about // { derivation = null; inherit (layer) digest diff_id size media_type; }
else
  about // { derivation = made; } // (if locked == null then { } else { inherit (locked) digest diff_id size; })
