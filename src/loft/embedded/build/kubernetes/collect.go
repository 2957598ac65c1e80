package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"
)

// busyVariable is the GOGC while a component works hard. An idle one has little memory with a small GOGC (the usual
// one, by its own variable); under load that small figure would be a fifth of its work.
const (
	busyVariable   = "LOFT_BUSY_GOGC"
	busyLook       = 2 * time.Second
	busyCycles     = 2 // collections between two looks from which on it is busy
	busyQuietLooks = 3 // looks without a single one after which it is no longer
	cyclesMetric   = "/gc/cycles/automatic:gc-cycles"
)

// pace says how often to collect: it follows how often that was needed lately.
type pace struct {
	busy  bool
	quiet int
}

// next takes the collections since the last look, and says whether the pace changed.
func (p *pace) next(cycles uint64) bool {
	before := p.busy
	if cycles > 0 {
		p.quiet = 0
	} else {
		p.quiet++
	}
	p.busy = cycles >= busyCycles || (p.busy && p.quiet < busyQuietLooks)
	return p.busy != before
}

// startPace changes GOGC as the load does; no-op without the variable. usual is the GOGC of an idle component.
func startPace(usual int) {
	percent, err := strconv.Atoi(os.Getenv(busyVariable))
	if err != nil {
		return
	}
	go func() {
		sample := []metrics.Sample{{Name: cyclesMetric}}
		metrics.Read(sample)
		var now pace
		for seen := sample[0].Value.Uint64(); ; {
			time.Sleep(busyLook)
			metrics.Read(sample)
			cycles := sample[0].Value.Uint64() - seen
			seen += cycles
			if !now.next(cycles) {
				continue
			}
			if now.busy {
				debug.SetGCPercent(percent)
			} else {
				debug.SetGCPercent(usual)
				debug.FreeOSMemory()
			}
		}
	}()
}

// usualPercent is the GOGC that the system started this component with.
func usualPercent() int {
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	return percent
}
