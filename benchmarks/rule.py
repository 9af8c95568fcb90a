"""The rule of the job, which every system is told: source priority within a second, else the last update wins."""

PRIORITY = ("crm", "billing", "web")
CONVERGENCE_WINDOW_MS = 1_000
