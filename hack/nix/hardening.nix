# What the service may do, as settings of systemd: speak to the network, and write to the folders that are named.
{
  # The capability to listen on ports below 1024, where that is wanted.
  capabilities,
}:
{
  CapabilityBoundingSet = capabilities;
  AmbientCapabilities = capabilities;
  NoNewPrivileges = true;
  # A user namespace of its own would take the capability's effect away.
  PrivateUsers = capabilities == "";

  ProtectSystem = "strict";
  ProtectHome = true;
  PrivateTmp = true;
  PrivateDevices = true;
  ProtectClock = true;
  ProtectControlGroups = true;
  ProtectHostname = true;
  ProtectKernelLogs = true;
  ProtectKernelModules = true;
  ProtectKernelTunables = true;
  ProtectProc = "invisible";
  ProcSubset = "pid";
  RemoveIPC = true;
  UMask = "0077";

  RestrictAddressFamilies = [
    "AF_INET"
    "AF_INET6"
    # PostgreSQL on the same machine.
    "AF_UNIX"
    # The C library asks the kernel which addresses there are before it looks names up.
    "AF_NETLINK"
  ];
  RestrictNamespaces = true;
  RestrictRealtime = true;
  RestrictSUIDSGID = true;
  LockPersonality = true;
  SystemCallArchitectures = "native";
  SystemCallFilter = [
    "@system-service"
    "~@privileged"
  ];
  SystemCallErrorNumber = "EPERM";
  # MemoryDenyWriteExecute cannot be set: V8 compiles JavaScript to machine code while it runs.
}
