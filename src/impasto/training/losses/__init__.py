"""Losses: functions of tensors. They know no network and no optimiser."""
