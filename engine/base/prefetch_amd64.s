#include "textflag.h"

// func Prefetch(address uintptr)
TEXT ·Prefetch(SB), NOSPLIT, $0-8
	MOVQ address+0(FP), AX
	PREFETCHT0 (AX)
	RET
