"""Every integer of the hardware against exact arithmetic.

`hardware` runs all checks of a design on samples: its execution in Python, in Verilator and in HLS
C++, and the golden integers themselves against others. `thresholds` tries each layer that counts
thresholds on both sides of every one of them, whatever the samples are.
"""
