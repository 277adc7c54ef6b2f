"""OpenVINO: CPUs of x86 and Arm, and Intel's GPUs and NPUs."""
