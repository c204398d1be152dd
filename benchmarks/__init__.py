"""What Lotgate detects and what it costs, measured; nothing here is part of the product."""
