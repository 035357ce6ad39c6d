"""What tests share: not tests themselves."""
