"""What an owner sees and does: services, pages and the JSON endpoints."""
