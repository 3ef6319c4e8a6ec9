# Everything that systemd can take from a service which needs a network socket and perhaps a GPU.
{
  lib,
  # DeviceAllow entries; none hides every device.
  devices,
}:
{
  CapabilityBoundingSet = [ "" ];
  AmbientCapabilities = [ "" ];
  DevicePolicy = "closed";
  LockPersonality = true;
  MemoryDenyWriteExecute = true;
  NoNewPrivileges = true;
  PrivateDevices = devices == [ ]; # it would hide the GPU
  PrivateMounts = true;
  PrivateTmp = true;
  PrivateUsers = true;
  ProcSubset = "all"; # engines read /proc/meminfo
  ProtectClock = true;
  ProtectControlGroups = true;
  ProtectHome = true;
  ProtectHostname = true;
  ProtectKernelLogs = true;
  ProtectKernelModules = true;
  ProtectKernelTunables = true;
  ProtectProc = "invisible";
  ProtectSystem = "strict";
  RemoveIPC = true;
  RestrictAddressFamilies = [
    "AF_INET"
    "AF_INET6"
    "AF_UNIX"
  ];
  RestrictNamespaces = true;
  RestrictRealtime = true;
  RestrictSUIDSGID = true;
  SystemCallArchitectures = "native";
  # A library that only tries a call gets an error, and is not killed.
  SystemCallErrorNumber = "EPERM";
  SystemCallFilter = [
    "@system-service"
    "~@privileged"
  ];
  UMask = "0077";
}
// lib.optionalAttrs (devices != [ ]) {
  DeviceAllow = devices;
  SupplementaryGroups = [
    "render"
    "video"
  ];
}
