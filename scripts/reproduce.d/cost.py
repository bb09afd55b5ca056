"""cost.py FILE COMMAND...: runs a command; FILE receives its seconds and its peak memory in MB."""
import resource
import subprocess
import sys
import time

start = time.monotonic()
code = subprocess.call(sys.argv[2:])
seconds = time.monotonic() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000
with open(sys.argv[1], "w") as f:
    f.write(f"{seconds:.1f}\t{peak:.0f}\n")
sys.exit(code)
