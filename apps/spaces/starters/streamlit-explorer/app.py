import numpy as np
import pandas as pd
import streamlit as st

st.title("Data explorer")
days = st.slider("Days", min_value=7, max_value=90, value=30)
drift = st.slider("Drift", min_value=-1.0, max_value=1.0, value=0.1)

random = np.random.default_rng(seed=7)
walk = pd.DataFrame({"value": random.normal(drift, 1.0, days).cumsum()}, index=pd.RangeIndex(1, days + 1, name="day"))

st.line_chart(walk)
st.metric("Last value", f"{walk['value'].iloc[-1]:.2f}")
