# For a flake of one's own:
#
#     inputs.cogsmith.url = "...?dir=nix";
#     outputs = { self, cogsmith }: cogsmith.lib.flake { plan = ./plan.json; src = ./.; };
#
# where plan.json is what `cogsmith plan --json` prints.  `cogsmith emit nix` writes a flake that needs no other.
{
  description = "Container images of ML models, from a plan of Cogsmith";

  # For an interpreter that runs the packer, and for what `build.nix_packages` names.
  inputs.nixpkgs.url = "nixpkgs";

  outputs = { self, nixpkgs }:
    let pkgsFor = system: nixpkgs.legacyPackages.${system}; in
    {
      lib = {
        # One image: the arguments of default.nix.  `python` is nixpkgs' unless another is given, `system` the machine that
        # packs, which shapes nothing.
        build = { plan, src, system ? "x86_64-linux", ... }@arguments:
          (import ./default.nix ({ inherit system; python = (pkgsFor system).python3; pkgs = pkgsFor system; } // arguments)).image;

        # All that a flake of one image has: the arguments of outputs.nix.
        flake = arguments: import ./outputs.nix ({ inherit pkgsFor; } // arguments);
      };
    };
}
