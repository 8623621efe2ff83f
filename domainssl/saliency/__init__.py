"""Where in an image a head's answer comes from, as far as such maps tell, and whether they tell more than the image."""
