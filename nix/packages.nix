# The layers of `build.nix_packages`: none of them yet.
{ data, pkgs, packer }:
number: throw "nix_packages"
