# What a flake of one image has: `nix build` makes the image, `nix run .#push -- REFERENCE` sends it to a registry.
{
  # As in default.nix.
  plan,
  src,
  runtime ? ../runtime,
  codec ? null,
  files ? null,

  # The seed of each machine that may pack, by system: an attribute set of paths.
  seeds ? { },

  # nixpkgs of a system, where there is one: a function.  Its python3 then runs the packer.
  pkgsFor ? (system: null),
}:
let
  systems = [ "x86_64-linux" "aarch64-linux" ];
  each = make: builtins.listToAttrs (map (system: { name = system; value = make system; }) systems);
  built = system:
    let pkgs = pkgsFor system; in
    import ./default.nix {
      inherit plan src runtime codec files system pkgs;
      seed = seeds.${system} or null;
      python = if pkgs == null then null else pkgs.python3;
    };
in
{
  packages = each (system: { default = (built system).image; push = (built system).push; });
  apps = each (system: { push = { type = "app"; program = "${(built system).push}/bin/push"; }; });
}
