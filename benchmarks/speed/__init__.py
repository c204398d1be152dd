"""What a scan costs: seconds, each detector's share, the share of Prefect, GX and DVC, and memory against lot size."""
