"""What geoseg finds around it: libraries, devices, caches, settings, and whether it works here."""
