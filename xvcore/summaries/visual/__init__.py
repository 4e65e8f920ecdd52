"""Visual summaries (Godi, Carletti et al., BMVC 2018): proposals, flow, clusters, coherence."""
