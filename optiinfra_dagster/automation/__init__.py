"""What runs by itself: schedules, sensors, asset checks."""
