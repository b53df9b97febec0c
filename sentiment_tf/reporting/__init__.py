"""Output for people: tables, figures, the report, TensorBoard, the model card."""
