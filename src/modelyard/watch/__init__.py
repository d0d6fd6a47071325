"""How is it going: counters and metrics. It only observes."""
