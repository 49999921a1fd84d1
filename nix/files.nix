# What a plan names by hash, as flat fixed-output derivations: a wheel, a Debian package, an interpreter's archive.
#
# `cogsmith build` adds the files to the store beforehand, so that nothing is fetched; the path is the same.
{ remotes }:
let
  # A store path's name takes no other characters.
  storeName = builtins.replaceStrings [ "~" "%" "!" " " "@" ":" "," "(" ")" "[" "]" ] [ "-" "-" "-" "-" "-" "-" "-" "-" "-" "-" "-" ];
  isDistant = url: builtins.match "https?://.*" url != null;
  fetch = remote:
    let
      distant = builtins.filter isDistant remote.urls;
      url = if distant == [ ] then "file:///${remote.name}/is-on-no-server/build-with-cogsmith-first" else builtins.head distant;
    in
    derivation {
      name = storeName remote.name;
      system = "builtin";
      builder = "builtin:fetchurl";
      inherit url;
      urls = [ url ];
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = remote.sha256;
      executable = false;
      unpack = false;
      preferLocalBuild = true;
      impureEnvVars = [ "http_proxy" "https_proxy" "ftp_proxy" "all_proxy" "no_proxy" ];
    };
in
builtins.listToAttrs (map (remote: { name = remote.sha256; value = fetch remote; }) remotes)
