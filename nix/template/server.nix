{
  # Add the machine's own hardware-configuration.nix here.
  nixpkgs.hostPlatform = "x86_64-linux";
  system.stateVersion = "26.05";

  services.concierge = {
    enable = true;
    model = "smollm2-135m";
  };
}
