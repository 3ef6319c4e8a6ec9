{
  description = "Machines that run concierge";

  inputs = {
    # Where you got concierge from; a checkout beside this folder works too.
    concierge.url = "path:/path/to/concierge";
    nixpkgs.follows = "concierge/nixpkgs";
  };

  outputs =
    { nixpkgs, concierge, ... }:
    {
      nixosConfigurations.server = nixpkgs.lib.nixosSystem {
        modules = [
          concierge.nixosModules.default
          ./server.nix
        ];
      };
    };
}
